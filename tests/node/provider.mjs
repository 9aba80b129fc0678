/**
 * A real OpenID provider in memory: oidc-provider, with the people and the client that its standard input names.
 *
 * The first line is JSON with `port`, `client` and `people`, whose groups later lines replace. It ends with its input.
 * Whoever knows a name may sign on with any password.
 */

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createInterface } from "node:readline";

import Provider from "oidc-provider";

let people = {};

function newKeys() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { keys: [{ ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" }] };
}

async function findAccount(_context, name) {
  const person = people[name];
  return person && { accountId: name, claims: async () => ({ sub: name, ...person }) };
}

/** Agrees for the person: the client belongs to the same house. */
async function loadExistingGrant({ oidc }) {
  const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
  grant.addOIDCScope("openid profile email groups");
  await grant.save();
  return grant;
}

async function start({ port, client, inUserinfo }) {
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [client],
    findAccount,
    loadExistingGrant,
    jwks: newKeys(),
    cookies: { keys: [randomUUID()] },
    claims: { groups: ["groups"], email: ["email", "email_verified"], profile: ["name"] },
    conformIdTokenClaims: inUserinfo,
    pkce: { required: () => true },
    features: { rpInitiatedLogout: { enabled: true }, devInteractions: { enabled: true } },
  });
  provider.on("server_error", (_context, error) => console.error(error));
  provider.listen(port, "127.0.0.1", () => console.log("ready"));
}

let isFirst = true;
for await (const line of createInterface({ input: process.stdin })) {
  const said = JSON.parse(line);
  people = said.people;
  if (isFirst) await start(said);
  else console.log("changed");
  isFirst = false;
}
process.exit();
