import { Link } from "@tanstack/react-router";

import { CopyBlock } from "@/parts/CopyBlock";

/** In the place of an empty list: how to get a job. */
export function FirstJob() {
  return (
    <section className="mx-auto grid w-full max-w-3xl gap-4 py-8">
      <div>
        <h2>No job yet</h2>
        <p className="text-muted">
          Upload chat rows, one JSON object a line, and create a job on them. It appears here at once.
        </p>
        <Link to="/new" className="button button-primary mt-3">
          New job
        </Link>
      </div>
      <CopyBlock label="curl" code={CURL(location.origin)} />
      <CopyBlock label="Python, with the openai package" code={PYTHON(location.origin)} />
      <p className="text-muted">
        Or run <code className="font-mono">tunery demo</code>, which trains on a sample.
      </p>
    </section>
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
