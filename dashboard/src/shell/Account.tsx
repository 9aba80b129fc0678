import { useIsFetching, useMutation, useQueryClient } from "@tanstack/react-query";

import { type Session, setSession, SIGN_OFF_PATH, signOnAddress, signOut } from "@/api/project/session";
import { ErrorDialog } from "@/components/dialogs/ErrorDialog";

/** The project of the session, and the way out. A person who has signed on may choose among their projects. */
export function Account({ session }: { session: Session }) {
  const client = useQueryClient();
  const reconnecting = useIsFetching({ predicate: ({ state }) => state.fetchFailureCount > 0 }) > 0;
  const leaving = useMutation({
    mutationFn: signOut,
    onSuccess: () => {
      setSession(client, null);
      if (session.sign_on_projects) location.assign(SIGN_OFF_PATH); // or the next person would be this one again
    },
  });
  return (
    <>
      <span className="text-muted" aria-live="polite">
        {reconnecting && "Reconnecting…"}
      </span>
      {(session.sign_on_projects?.length ?? 0) > 1 ? (
        <ProjectChoice session={session} />
      ) : (
        <span className="max-w-40 truncate max-sm:max-w-14" title={`Project ${session.project.id}, role ${session.role}`}>
          <span className="sr-only">Project </span>
          {session.project.name}
        </span>
      )}
      <button type="button" className="button" disabled={leaving.isPending} onClick={() => leaving.mutate()}>
        Sign out
      </button>
      {leaving.error && <ErrorDialog error={leaving.error} onClose={leaving.reset} />}
    </>
  );
}

/** Signs on to another project: a session belongs to one. */
function ProjectChoice({ session }: { session: Session }) {
  return (
    <select
      aria-label="Project"
      title={`Role ${session.role}`}
      className="field max-w-40 max-sm:max-w-20"
      value={session.project.name}
      onChange={(event) => location.assign(signOnAddress("/", event.target.value))}
    >
      {session.sign_on_projects?.map(({ id, name }) => (
        <option key={id}>{name}</option>
      ))}
    </select>
  );
}
