/** Which part of the settings is shown, as it stands in the address. */

export const SETTINGS_PARTS = ["keys", "webhooks", "secrets", "usage", "audit"] as const;
export type SettingsPart = (typeof SETTINGS_PARTS)[number];

interface SettingsSearch {
  /** Without it the first one. */
  part?: SettingsPart;
}

export function parseSettingsSearch(raw: Record<string, unknown>): SettingsSearch {
  const part = SETTINGS_PARTS.find((one) => one === raw.part);
  return part && part !== "keys" ? { part } : {};
}
