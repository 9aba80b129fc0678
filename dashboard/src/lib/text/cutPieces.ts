/** Splits a name where it may be cut: what it shares with others goes first, and what tells it apart stays. */

const FINE_TUNED = /^(ft:[^:]*:[^:]*:)(.+)$/;
const SHORT = 20; // characters that fit everywhere
const END = 12;

/**
 * Returns the part of a name that may be cut off, and the part that stays. Of a fine-tuned model, its base and its project
 * may be cut. Other long names may be cut before their last characters. A short name has no part to cut.
 */
export function cutPieces(name: string): [shared: string, own: string] {
  const [, shared, own] = FINE_TUNED.exec(name) ?? [];
  if (shared && own) return [shared, own.replace(/^:/, "")];
  const characters = [...name];
  if (characters.length <= SHORT) return ["", name];
  return [characters.slice(0, -END).join(""), characters.slice(-END).join("")];
}
