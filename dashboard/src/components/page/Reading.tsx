/** Shown until the content of a page has arrived. */
export function Reading() {
  return (
    <p role="status" className="text-muted">
      Reading…
    </p>
  );
}
