import { useMayWrite } from "@/api/project/session";

/** Says why the page has no actions, if the key may only read. */
export function ReadsOnly() {
  const mayWrite = useMayWrite();
  return mayWrite ? null : <p className="text-muted">This key may only read. It cannot upload or delete files.</p>;
}
