import { useQuery } from "@tanstack/react-query";

import { judgedQuery } from "@/api/evals/judged";
import { useMayWrite } from "@/api/project/session";
import { againstBase, shownEvals } from "@/lib/evals/chosenRuns";
import { Forgetting, Outcome, ToEval } from "@/components/evals/Outcome";
import { Fold } from "@/components/page/Fold";
import { Loaded } from "@/components/page/Loaded";
import { Section } from "@/components/page/Section";
import type { Adapter } from "@/types/api";

import { EvaluateOnFile } from "./EvaluateOnFile";

/** The adapter against its base model, whoever has made the eval: its job, this page or the command line. */
export function JudgedAdapter({ adapter }: { adapter: Adapter }) {
  const query = useQuery(judgedQuery({ model: adapter.model }));
  const mayWrite = useMayWrite();
  const { result, forgetting } = shownEvals(againstBase(query.data ?? [], adapter));
  return (
    <Section title="Is it better?" tools={result && <ToEval id={result.eval.id} />}>
      <Loaded query={query}>
        {() => (
          <>
            {result && <Outcome judged={result} label="Result against the base model" withRows />}
            {!result && <p className="px-4 pb-3 text-muted">It was not compared with its base model yet.</p>}
            {mayWrite && !result && <EvaluateOnFile adapter={adapter} />}
            {mayWrite && result && (
              <Fold summary="Evaluate on another file" className="link">
                <EvaluateOnFile adapter={adapter} />
              </Fold>
            )}
            {forgetting && <Forgetting judged={forgetting} />}
          </>
        )}
      </Loaded>
    </Section>
  );
}
