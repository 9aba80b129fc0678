/** Returns a random key of 128 bits. `crypto.randomUUID` exists only under HTTPS, so the key is made without it. */
export function newIdempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
