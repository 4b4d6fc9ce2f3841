// Signs and verifies AgentCards with the JavaScript SDK, as an agent that uses it does.
//
//     card.mjs verify CARD SVID          succeeds when the SDK accepts a signature by the key of the leaf in SVID
//     card.mjs sign CARD SVID KEY        prints the card with the SDK's signature, the chain of SVID in its header

import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages lie in a folder of their own, not beside this file.
const require = createRequire(`${process.env.A2A_JS}/package.json`);
const { AgentCard, generateAgentCardSignature, verifyAgentCardSignature } = await import(
  pathToFileURL(require.resolve("@a2a-js/sdk")).href
);

// The card as JSON: the SDK reads it by itself. Given a card that was read already, SDK 1.3.0 loses its security schemes
// and signs it without them.
const readCard = (path) => JSON.parse(readFileSync(path, "utf8"));
const readChain = (path) =>
  readFileSync(path, "utf8")
    .split(/(?<=-----END CERTIFICATE-----)/)
    .filter((block) => block.includes("BEGIN"))
    .map((block) => new X509Certificate(block));

const commands = {
  async verify(card, svid) {
    console.debug = () => {};
    await verifyAgentCardSignature(async () => readChain(svid)[0].publicKey)(readCard(card));
  },
  async sign(card, svid, key) {
    const x5c = readChain(svid).map((one) => one.raw.toString("base64"));
    const signer = generateAgentCardSignature(createPrivateKey(readFileSync(key)), {
      alg: "ES256",
      kid: "javascript",
      typ: "JOSE",
      x5c,
    });
    // What the SDK does not know is not signed, so it is not published either.
    console.log(JSON.stringify(AgentCard.toJSON(AgentCard.fromJSON(await signer(readCard(card))))));
  },
};

const [command, ...rest] = process.argv.slice(2);
await commands[command](...rest);
