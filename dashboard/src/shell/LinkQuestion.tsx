import { useMutation, useQueryClient } from "@tanstack/react-query";

import { type LinkedKey, setSession, signIn } from "@/api/project/session";
import { Prose } from "@/components/basics/Prose";
import { Failure } from "@/components/page/Notice";

interface LinkQuestionProps {
  secret: string;
  linked: LinkedKey;
  onDecline: () => void;
}

/**
 * Asks before a one-time link signs in. Anybody can send a link of their own project, and whoever follows it unawares
 * works in that project.
 */
export function LinkQuestion({ secret, linked, onDecline }: LinkQuestionProps) {
  const client = useQueryClient();
  const { mutate, isPending, error } = useMutation({
    mutationFn: () => signIn({ link: secret }),
    onSuccess: (session) => setSession(client, session),
  });
  return (
    <>
      <p>This link signs you in with the API key of somebody, perhaps your own:</p>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1">
        <dt className="text-muted">Project</dt>
        <dd className="font-semibold break-words">{linked.project.name}</dd>
        <dt className="text-muted">API key</dt>
        <dd className="break-words">
          <Prose text={linked.key_name} />
        </dd>
        <dt className="text-muted">Role</dt>
        <dd>{linked.role}</dd>
      </dl>
      <p>
        Sign in only if you made the link, or know who did. Everything that you upload and create will belong to this
        project.
      </p>
      {error && <Failure asked error={error} />}
      <div className="flex flex-wrap gap-2">
        <button type="button" className="button button-primary" disabled={isPending} onClick={() => mutate()}>
          {isPending ? "Signing in…" : "Sign in to this project"}
        </button>
        <button type="button" className="button" disabled={isPending} onClick={onDecline}>
          Do not sign in
        </button>
      </div>
    </>
  );
}
