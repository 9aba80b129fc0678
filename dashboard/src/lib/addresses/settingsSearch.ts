/** The address of Settings: which part of them is shown. */

export const SETTINGS_PARTS = ["keys", "webhooks", "secrets", "usage", "audit", "models"] as const;
export type SettingsPart = (typeof SETTINGS_PARTS)[number];

interface SettingsSearch {
  /** Without it, the first part. */
  part?: SettingsPart;
}

export function parseSettingsSearch(raw: Record<string, unknown>): SettingsSearch {
  const part = SETTINGS_PARTS.find((one) => one === raw.part);
  return part && part !== "keys" ? { part } : {};
}
