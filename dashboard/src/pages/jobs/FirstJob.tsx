import { Link, useNavigate } from "@tanstack/react-router";

import { useSampleJob } from "@/api/jobs/sampleJob";
import { useMayWrite } from "@/api/project/session";
import { CopyBlock } from "@/components/basics/CopyBlock";
import { Failure } from "@/components/page/Notice";

/** Shown instead of an empty list: how to create the first job. */
export function FirstJob() {
  const mayWrite = useMayWrite();
  return (
    <section className="mx-auto grid w-full max-w-3xl gap-4 py-8">
      <div>
        <h2>No job yet</h2>
        <p className="text-muted">
          Run one on our sample: messages to a camping shop, to be sorted into records. Or upload chat rows, one JSON
          object per line, and create a job on them. The job appears here at once.
        </p>
        {mayWrite ? <Begin /> : <p className="mt-3">This key may only read. It cannot upload files or create jobs.</p>}
      </div>
      <p className="text-muted">
        Both programs below read <code className="font-mono">train.jsonl</code>. The command{" "}
        <code className="font-mono">tunery files sample</code> writes the sample under this name.
      </p>
      <CopyBlock label="curl" code={CURL(location.origin)} />
      <CopyBlock label="Python, with the openai package" code={PYTHON(location.origin)} />
      <p className="text-muted">
        <code className="font-mono">tunery demo</code> also trains on the sample, and compares the answers before and after.
      </p>
    </section>
  );
}

function Begin() {
  const navigate = useNavigate();
  const { mutate, isPending, error } = useSampleJob((jobId) => void navigate({ to: "/jobs/$jobId", params: { jobId } }));
  return (
    <div className="mt-3 grid gap-3">
      <div className="flex flex-wrap gap-2">
        <button type="button" className="button button-primary" disabled={isPending} onClick={() => mutate()}>
          {isPending ? "Sending the sample…" : "Run the sample job"}
        </button>
        <Link to="/new" className="button">
          New job
        </Link>
      </div>
      {error && <Failure asked error={error} />}
    </div>
  );
}

const CURL = (origin: string) => `export TUNERY_API_KEY=tnr_…   # your key
FILE=$(curl -s ${origin}/v1/files -H "Authorization: Bearer $TUNERY_API_KEY" \\
  -F purpose=fine-tune -F file=@train.jsonl | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
curl ${origin}/v1/fine_tuning/jobs -H "Authorization: Bearer $TUNERY_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d "{\\"model\\": \\"smollm2-135m-instruct\\", \\"training_file\\": \\"$FILE\\"}"`;

const PYTHON = (origin: string) => `from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key="tnr_…")  # your key
file = client.files.create(file=open("train.jsonl", "rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(model="smollm2-135m-instruct", training_file=file.id)
print(job.id)`;
