/** The pages with an entry in the navigation and in the command palette. */
export const PAGES = [
  ["/jobs", "Jobs"],
  ["/new", "New job"],
  ["/compare", "Compare"],
  ["/playground", "Playground"],
  ["/files", "Files"],
  ["/adapters", "Adapters"],
  ["/evals", "Evals"],
  ["/workers", "Workers"],
  ["/settings", "Settings"],
  ["/guide", "Docs"],
] as const;
