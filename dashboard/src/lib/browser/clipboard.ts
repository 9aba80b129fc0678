/** Copies a text and returns whether the browser allowed it. Browsers do so only under HTTPS and on this machine. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
