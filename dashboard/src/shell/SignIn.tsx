import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import {
  linkedKeyQuery,
  linkSecret,
  problemOfSignOn,
  setSession,
  signIn,
  signOnAddress,
  useSignedOut,
  waysQuery,
} from "@/api/project/session";
import { useTitle } from "@/lib/browser/useTitle";
import { Failure, Notice } from "@/components/page/Notice";

import { LinkQuestion } from "./LinkQuestion";

/** Signs in with the one-time link that opened the page, if its reader agrees, with an API key, or by sign-on. */
export function SignIn() {
  useTitle("Sign in");
  const [secret, setSecret] = useState(() => linkSecret(location.hash));
  const link = useQuery({ ...linkedKeyQuery(secret ?? ""), enabled: secret !== null });
  useEffect(() => {
    if (secret === null) return;
    history.replaceState(history.state, "", location.pathname); // the secret must not stay in the history
  }, [secret]);
  return (
    <section className="card mx-auto mt-[10vh] grid w-full max-w-md gap-4 p-6">
      <h1>Sign in</h1>
      {link.failureReason && <Failure error={link.failureReason} />}
      {secret === null || link.isError ? (
        <Ways />
      ) : link.data ? (
        <LinkQuestion secret={secret} linked={link.data} onDecline={() => setSecret(null)} />
      ) : (
        <p role="status">Reading the link…</p>
      )}
    </section>
  );
}

/** Offers what the service takes: an API key until the service says otherwise. */
function Ways() {
  const ways = useQuery(waysQuery(problemOfSignOn())).data;
  const why = useSignedOut();
  return (
    <>
      {ways?.problem && <Notice tone="warn">{ways.problem}</Notice>}
      {why && <Notice tone="warn">You were signed out: {why}</Notice>}
      {ways?.sign_on && (
        <a href={signOnAddress(page())} className="button button-primary justify-center">
          Sign in with {ways.sign_on}
        </a>
      )}
      {ways?.by_key !== false && <KeyForm />}
    </>
  );
}

/** The page that the person has asked for. */
function page(): string {
  return location.pathname === "/sign-in" ? "/" : location.pathname + location.search;
}

function KeyForm() {
  const client = useQueryClient();
  const [key, setKey] = useState("");
  const { mutate, isPending, error } = useMutation({
    mutationFn: () => signIn({ api_key: key.trim() }),
    onSuccess: (session) => setSession(client, session),
  });
  const submit = (event: React.SubmitEvent) => {
    event.preventDefault();
    mutate();
  };
  return (
    <form onSubmit={submit} className="grid gap-4">
      <div className="grid gap-1">
        <label htmlFor="key">API key</label>
        <input
          id="key"
          type="password"
          autoComplete="off"
          required
          placeholder="tnr_…"
          className="field font-mono"
          value={key}
          onChange={(event) => setKey(event.target.value)}
          aria-describedby="key-help"
        />
        <p id="key-help" className="fact">
          <code className="font-mono">tunery up</code> writes the first key to{" "}
          <code className="font-mono">.tunery/api-key</code> where it runs;{" "}
          <code className="font-mono">tunery keys create</code> makes more. The key is exchanged for a cookie and not
          stored.
        </p>
      </div>
      {error && <Failure asked error={error} />}
      <button type="submit" className="button button-primary justify-center" disabled={isPending}>
        {isPending ? "Signing in…" : "Sign in"}
      </button>
    </form>
  );
}
