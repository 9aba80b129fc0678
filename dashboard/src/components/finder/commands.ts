/** The commands of a finder, and the commands that match what was typed. */

export const MOST_FOUND = 12; // more would be too many to look through
const KEPT_FOR_JOBS = 5;

export interface Command {
  id: string;
  label: string;
  /** The kind of the command, and further words by which it is found. */
  hint: string;
  /** Whether the command ends something for good. Such a command is never chosen unless the reader chooses it. */
  isFinal?: boolean;
  run: () => void;
}

/** Returns the index of the command that Enter takes: the one the reader chose, or the first that ends nothing; -1 for none. */
export function activeCommand(found: readonly Command[], chosen: string | null): number {
  const index = found.findIndex(({ id }) => id === chosen);
  return index >= 0 ? index : found.findIndex(({ isFinal }) => !isFinal);
}

/**
 * Returns the commands with every word in their label or hint. Commands whose label begins with the typed text come
 * first.
 */
export function matchingCommands(commands: readonly Command[], typed: string): Command[] {
  const text = typed.trim().toLowerCase();
  const words = text.split(/\s+/);
  const found = commands.filter(({ label, hint }) => {
    const all = `${label} ${hint}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
  const begins = (command: Command) => command.label.toLowerCase().startsWith(text);
  return [...found.filter(begins), ...found.filter((command) => !begins(command))];
}

/** Returns the list to show: the commands of this page, then jobs. A few lines are kept for jobs, if there are any. */
export function shownCommands(here: readonly Command[], jobs: readonly Command[]): Command[] {
  const kept = Math.min(jobs.length, KEPT_FOR_JOBS);
  return [...here.slice(0, MOST_FOUND - kept), ...jobs].slice(0, MOST_FOUND);
}
