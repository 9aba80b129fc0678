/** The pages that are on their own, as the navigation and the palette name them. */
export const PAGES = [
  ["/jobs", "Jobs"],
  ["/new", "New job"],
  ["/compare", "Compare"],
  ["/files", "Files"],
  ["/adapters", "Adapters"],
  ["/workers", "Workers"],
  ["/settings", "Settings"],
] as const;
