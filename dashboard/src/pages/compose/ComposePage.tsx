import { Link } from "@tanstack/react-router";

import { useMayWrite } from "@/api/project/session";
import { PageTitle } from "@/components/page/PageTitle";
import { ReadsOnly } from "@/components/page/ReadsOnly";

import { ComposeForm } from "./ComposeForm";
import { Compositions } from "./Compositions";

/** Composes several LoRA adapters of one base model into one. The address holds the adapters. */
export function ComposePage() {
  const mayWrite = useMayWrite();
  return (
    <>
      <nav aria-label="Way back">
        <Link to="/adapters" className="link">
          Adapters
        </Link>
      </nav>
      <PageTitle title="Compose" />
      <ReadsOnly />
      {mayWrite && <ComposeForm />}
      <Compositions />
    </>
  );
}
