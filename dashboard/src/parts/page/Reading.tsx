/** In the place of what is on its way, however long that takes. */
export function Reading() {
  return (
    <p role="status" className="text-muted">
      Reading…
    </p>
  );
}
