let isPressed = false;

for (const [type, pressed] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]] as const) {
  window.addEventListener(type, () => void (isPressed = pressed), { capture: true });
}

/**
 * Calls `act` at once, or after the click for which a pointer is pressed now. So whatever `act` shows cannot push away
 * the place of the click between the press and the release.
 */
export function afterPointer(act: () => void): void {
  if (!isPressed) return act();
  const released = new AbortController();
  const { signal } = released;
  const done = () => {
    released.abort();
    setTimeout(act);
  };
  for (const type of ["pointerup", "pointercancel"]) window.addEventListener(type, done, { signal });
}
