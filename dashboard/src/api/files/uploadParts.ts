/** A large file in the parts that the API takes. */

export const MAX_PART_BYTES = 64 * 1024 ** 2;

/** The bounds of each part; `to` is not included. */
export function partsOf(bytes: number, most = MAX_PART_BYTES): [from: number, to: number][] {
  const count = Math.ceil(bytes / most);
  return Array.from({ length: count }, (_, at) => [at * most, Math.min((at + 1) * most, bytes)]);
}
