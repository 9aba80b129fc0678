import assert from "node:assert/strict";
import { test } from "node:test";

import { client, createJob, idsOf, MODEL, required } from "./service.mjs";

const { jobs } = client.fineTuning;

test("a job is created, paused, resumed and cancelled, and its events tell of it", async () => {
  const job = await createJob({
    suffix: "from-node",
    seed: 5,
    method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: "auto" } } },
  });
  assert.equal(job.object, "fine_tuning.job");
  assert.equal(job.method.supervised.hyperparameters.n_epochs, 2);
  assert.equal(typeof job.method.supervised.hyperparameters.batch_size, "number");
  assert.equal((await jobs.retrieve(job.id)).seed, 5);
  assert.equal((await jobs.pause(job.id)).status, "paused");
  assert.equal((await jobs.resume(job.id)).status, "queued");
  assert.equal((await jobs.cancel(job.id)).status, "cancelled");
  const whole = await idsOf(jobs.listEvents(job.id, { limit: 100 }));
  assert(whole.length >= 4);
  assert.deepEqual(await idsOf(jobs.listEvents(job.id, { limit: 1 })), whole);
});

test("jobs are listed by metadata, by none with `metadata: null`, and page by page", async () => {
  const plain = await createJob();
  const marked = await createJob({ metadata: { team: "node" } });
  assert.deepEqual(await idsOf(jobs.list({ metadata: { team: "node" } })), [marked.id]);
  const without = await idsOf(jobs.list({ metadata: null, limit: 1 }));
  assert(without.includes(plain.id));
  assert(!without.includes(marked.id));
  const all = await idsOf(jobs.list({ limit: 1 }));
  assert(all.includes(plain.id) && all.includes(marked.id));
});

test("the results of a job that has ended are read as at OpenAI", async () => {
  const job = await jobs.retrieve(required("FINISHED_JOB"));
  assert.equal(job.status, "succeeded");
  const content = await client.files.content(job.result_files[0]);
  const table = Buffer.from(await content.text(), "base64").toString();
  assert.match(table, /^step,train_loss/);
  const plain = await client.files.content(job.result_files[0], { headers: { Accept: "text/csv" } });
  assert.equal(await plain.text(), table);
  const [checkpoint] = await idsOf(jobs.checkpoints.list(job.id));
  assert.match(checkpoint, /^ftckpt-/);
  assert.equal((await client.models.retrieve(job.fine_tuned_model)).id, job.fine_tuned_model);
  assert((await idsOf(client.models.list())).includes(job.fine_tuned_model));
});

test("a job that continues from a tuned model is created", async () => {
  const { fine_tuned_model: model } = await jobs.retrieve(required("FINISHED_JOB"));
  assert.equal((await createJob({ model })).model, model);
});

test("a repeated request with the same key creates one job", async () => {
  const { training_file } = await createJob();
  const body = { model: MODEL, training_file };
  const options = { headers: { "Idempotency-Key": "the-same" } };
  const [first, second] = [await jobs.create(body, options), await jobs.create(body, options)];
  assert.equal(first.id, second.id);
});
