import { useSyncExternalStore } from "react";

import { getTheme, onThemeChange, setTheme, type Theme, THEMES } from "@/lib/browser/theme";

export function ThemeSwitch() {
  const theme = useSyncExternalStore(onThemeChange, getTheme);
  return (
    <label>
      <span className="sr-only">Theme</span>
      <select className="field" value={theme} onChange={(event) => setTheme(event.target.value as Theme)}>
        {THEMES.map((one) => (
          <option key={one}>{one}</option>
        ))}
      </select>
    </label>
  );
}
