import { useQuery } from "@tanstack/react-query";
import { Link, Navigate } from "@tanstack/react-router";
import { useState } from "react";

import { problemOfSignOn, useSession, waysQuery } from "@/api/project/session";
import { Notice } from "@/components/page/Notice";
import { useTitle } from "@/lib/browser/useTitle";

/** Leads to the jobs. If the session is older than a sign-on that has failed, it first says why it has failed. */
export function SignedInAlready() {
  useTitle("Sign in");
  const [code] = useState(problemOfSignOn);
  const ways = useQuery({ ...waysQuery(code), enabled: code !== null });
  const session = useSession();
  const why = ways.data?.problem;
  if (code === null || ways.isError || (ways.data && !why)) return <Navigate to="/jobs" replace />;
  if (!why) return null;
  return (
    <section className="card mx-auto mt-[10vh] grid w-full max-w-md gap-4 p-6">
      <h1>Sign in</h1>
      <Notice tone="warn">{why}</Notice>
      <p>
        You are still signed in to the project {session?.project.name}. <Link to="/jobs">Back to its jobs</Link>
      </p>
    </section>
  );
}
