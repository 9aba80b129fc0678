/** What can be chosen by its name, and what of it somebody means who types a few letters. */

export const MOST_FOUND = 12; // that one looks through
const KEPT_FOR_JOBS = 5;

export interface Command {
  id: string;
  label: string;
  /** What kind it is of, and what else it is found by. */
  hint: string;
  run: () => void;
}

/** Those that have every word, in label or hint; before others those whose label begins with what was typed. */
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

/** What can be done here, then jobs: no more than one looks through. Some places are the jobs', as far as there are any. */
export function offered(here: readonly Command[], jobs: readonly Command[]): Command[] {
  const ofJobs = Math.min(jobs.length, KEPT_FOR_JOBS);
  return [...here.slice(0, MOST_FOUND - ofJobs), ...jobs].slice(0, MOST_FOUND);
}
