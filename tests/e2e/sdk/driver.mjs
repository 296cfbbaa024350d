// Asks through the official SDKs for Node and says what they saw.
//
// Each line of stdin is a request, each line of stdout its answer, in the order in which they end; a request may be
// sent before the one before it has ended. `../sdks.py` is the other end and describes both.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// The SDKs are installed outside the tree, where an import would not find them.
const installed = createRequire(`${process.env.KT_SDK_DIR}/`);
const { default: OpenAI, AzureOpenAI } = installed("openai");
const { default: Anthropic } = installed("@anthropic-ai/sdk");

const CLIENTS = {
  openai: ({ base_url, key }, rest) => new OpenAI({ baseURL: `${base_url}/v1`, apiKey: key, ...rest }),
  azure: ({ base_url, key, api_version }, rest) =>
    new AzureOpenAI({ endpoint: base_url, apiKey: key, apiVersion: api_version, ...rest }),
  "azure-v1": ({ base_url, key }, rest) => new OpenAI({ baseURL: `${base_url}/openai/v1/`, apiKey: key, ...rest }),
  anthropic: ({ base_url, key }, rest) => new Anthropic({ baseURL: base_url, apiKey: key, ...rest }),
};

// How a helper's stream is asked for what it put together.
const FINAL = {
  "chat.completions.stream": (stream) => stream.finalChatCompletion(),
  "responses.stream": (stream) => stream.finalResponse(),
  "messages.stream": (stream) => stream.finalMessage(),
};

// Plain data, as a user would print it: the SDKs hang methods and request ids on what they return.
const plain = (value) => JSON.parse(JSON.stringify(value ?? null));

function failed(error) {
  const { status, code, param, type, message } = error;
  return plain({ class: error.constructor.name, status, code, param, type, message, body: error.error });
}

async function perform(request) {
  const seen = { id: request.id, headers: {}, events: [] };
  const client = CLIENTS[request.sdk](request, {
    maxRetries: 0,
    timeout: request.timeout_ms,
    defaultHeaders: request.headers,
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      seen.status = response.status;
      seen.headers = Object.fromEntries(response.headers);
      return response;
    },
  });
  const path = request.call.split(".");
  const method = path.pop();
  const resource = path.reduce((at, name) => at[name], client);
  try {
    const answer = resource[method](request.body);
    if (FINAL[request.call]) {
      seen.value = plain(await FINAL[request.call](answer));
    } else if (request.body.stream) {
      for await (const event of await answer) seen.events.push(plain(event));
    } else {
      seen.value = plain(await answer);
    }
  } catch (error) {
    seen.error = failed(error);
  }
  return seen;
}

for await (const line of createInterface({ input: process.stdin })) {
  perform(JSON.parse(line)).then((seen) => process.stdout.write(`${JSON.stringify(seen)}\n`));
}
