import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI, { toFile } from "openai";

import { client, createJob, MODEL } from "./service.mjs";

const { jobs } = client.fineTuning;

/** Asserts that a request fails with this class of error, which says what is wrong. */
async function refused(request, type, expected) {
  const error = await request.then(() => assert.fail("it was not refused"), (failure) => failure);
  assert(error instanceof type, String(error));
  for (const [name, value] of Object.entries(expected)) assert.equal(error[name], value, name);
  assert(error.requestID);
  assert(error.message);
}

test("a wrong request is a BadRequestError with code and param", async () => {
  const { training_file } = await createJob();
  const unknown = jobs.create({ model: "gpt-9", training_file });
  await refused(unknown, OpenAI.BadRequestError, { status: 400, param: "model", code: "model_not_available" });
  const hyperparameters = { n_epochs: -1 };
  const wrong = jobs.create({ model: MODEL, training_file, hyperparameters });
  await refused(wrong, OpenAI.BadRequestError, { code: "invalid_value", type: "invalid_request_error" });
});

test("a wrong line of a file is named", async () => {
  const file = await toFile(Buffer.from('{"messages": []}\n'), "wrong.jsonl");
  const request = client.files.create({ file, purpose: "fine-tune" });
  const error = await request.catch((failure) => failure);
  assert(error instanceof OpenAI.BadRequestError, String(error));
  assert.equal(error.error.details[0].line, 1);
});

test("what does not exist is a NotFoundError", async () => {
  await refused(jobs.retrieve("ftjob-unheard-of"), OpenAI.NotFoundError, { status: 404 });
  await refused(client.models.retrieve("ft:unheard-of"), OpenAI.NotFoundError, { code: "model_not_found" });
});

test("a job that has ended cannot be paused, and a file in use cannot be deleted", async () => {
  const job = await createJob();
  await refused(client.files.delete(job.training_file), OpenAI.ConflictError, { status: 409 });
  await jobs.cancel(job.id);
  await assert.rejects(jobs.pause(job.id), (error) => error instanceof OpenAI.APIError && error.status < 500);
});

test("a wrong key is an AuthenticationError", async () => {
  const stranger = new OpenAI({ apiKey: "tnr_wrong", maxRetries: 0 });
  await refused(stranger.models.list(), OpenAI.AuthenticationError, { status: 401, code: "invalid_api_key" });
});

test("a base URL without /v1 says so", async () => {
  const baseURL = process.env.OPENAI_BASE_URL.replace(/\/v1$/, "");
  const astray = new OpenAI({ baseURL, maxRetries: 0 });
  const error = await astray.models.list().then(() => assert.fail("it was answered"), (failure) => failure);
  assert(error instanceof OpenAI.NotFoundError, String(error));
  assert.match(error.message, /ends in \/v1/);
});
