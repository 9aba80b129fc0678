
export const MAX_PART_BYTES = 64 * 1024 ** 2;

/** Returns the bounds in bytes of each part in which a large file is uploaded. `to` is not included. */
export function partsOf(bytes: number, most = MAX_PART_BYTES): [from: number, to: number][] {
  const count = Math.ceil(bytes / most);
  return Array.from({ length: count }, (_, at) => [at * most, Math.min((at + 1) * most, bytes)]);
}
