/** The words in which two answers differ. */

export interface Piece {
  text: string;
  /** Whether the other answer does not have these words at this position. */
  differs: boolean;
}

const MOST_WORDS = 800; // the table below has a cell for each pair of words

/** Returns both texts in pieces. The words that both have in the same order are the longest common sequence. */
export function wordDifference(one: string, other: string): [Piece[], Piece[]] {
  const [first, second] = [wordsOf(one), wordsOf(other)];
  if (first.length > MOST_WORDS || second.length > MOST_WORDS) return [whole(one), whole(other)];
  const [inFirst, inSecond] = common(first, second);
  return [pieces(first, inFirst), pieces(second, inSecond)];
}

const wordsOf = (text: string): string[] => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];

const whole = (text: string): Piece[] => (text ? [{ text, differs: false }] : []);

/** Returns the positions of the common words in each list. */
function common(first: readonly string[], second: readonly string[]): [Set<number>, Set<number>] {
  const width = second.length + 1;
  const lengths = new Uint16Array((first.length + 1) * width);
  const at = (row: number, column: number) => lengths[row * width + column] as number;
  for (let row = first.length - 1; row >= 0; row -= 1) {
    for (let column = second.length - 1; column >= 0; column -= 1) {
      const isSame = first[row] === second[column];
      lengths[row * width + column] = isSame
        ? at(row + 1, column + 1) + 1
        : Math.max(at(row + 1, column), at(row, column + 1));
    }
  }
  const [inFirst, inSecond] = [new Set<number>(), new Set<number>()];
  let [row, column] = [0, 0];
  while (row < first.length && column < second.length) {
    if (first[row] === second[column]) {
      inFirst.add(row++);
      inSecond.add(column++);
    } else if (at(row + 1, column) >= at(row, column + 1)) row += 1;
    else column += 1;
  }
  return [inFirst, inSecond];
}

/** Joins neighbouring words of the same kind. */
function pieces(words: readonly string[], shared: ReadonlySet<number>): Piece[] {
  const found: Piece[] = [];
  words.forEach((word, at) => {
    const differs = !shared.has(at);
    const last = found.at(-1);
    if (last?.differs === differs) last.text += word;
    else found.push({ text: word, differs });
  });
  return found;
}
