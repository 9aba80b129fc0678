import { useMayWrite } from "@/api/project/session";

/** Why nothing is offered that would change something. */
export function ReadsOnly() {
  const mayWrite = useMayWrite();
  return mayWrite ? null : <p className="text-muted">This key may only read: it uploads and deletes nothing.</p>;
}
