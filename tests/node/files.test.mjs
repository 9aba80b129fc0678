import assert from "node:assert/strict";
import { test } from "node:test";

import { client, idsOf, MODEL, upload } from "./service.mjs";

test("a file is uploaded, waited for, listed, read and deleted", async () => {
  const file = await upload();
  assert.equal(file.purpose, "fine-tune");
  assert.equal((await client.files.waitForProcessing(file.id)).status, "processed");
  assert((await idsOf(client.files.list({ purpose: "fine-tune", limit: 1 }))).includes(file.id));
  const content = await client.files.content(file.id);
  assert.equal(JSON.parse((await content.text()).split("\n")[0]).messages[1].content, "answer 0");
  assert.deepEqual(await client.files.delete(file.id), { id: file.id, object: "file", deleted: true });
  await assert.rejects(client.files.retrieve(file.id), { status: 404 });
});

test("the base models and a single one are read", async () => {
  const { data } = await client.models.list();
  assert(data.some(({ id }) => id === MODEL));
  assert.equal((await client.models.retrieve(MODEL)).object, "model");
});
