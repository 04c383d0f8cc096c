// Node's HTTP client against a URL: what came of each kind of request, as one line of JSON.
"use strict";
const http = require("http");

const base = process.argv[2];
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const sockets = new Set();

// One request; gives its status, body, headers, trailers and what came before the answer.
function ask(method, path, { headers = {}, parts = [], onContinue = null } = {}) {
  return new Promise((resolve, reject) => {
    const hints = [];
    const request = http.request(base + path, { agent, method, headers });
    request.on("socket", (socket) => sockets.add(socket));
    request.on("information", (info) => info.statusCode === 103 && hints.push(103));
    request.on("error", reject);
    request.on("response", (response) => {
      const body = [];
      response.on("data", (data) => body.push(data));
      response.on("error", reject);
      response.on("aborted", () => reject(new Error("aborted")));
      response.on("end", () =>
        resolve({
          status: response.statusCode,
          headers: response.headers,
          trailers: response.trailers,
          body: Buffer.concat(body),
          hints,
        })
      );
    });
    const sendBody = () => {
      for (const part of parts) request.write(part);
      request.end();
    };
    if (onContinue) {
      request.on("continue", () => {
        onContinue();
        sendBody();
      });
      request.flushHeaders();
    } else {
      sendBody();
    }
  });
}

async function main() {
  const gets = await Promise.all(Array.from({ length: 200 }, (_, i) => ask("GET", `/r/${i}`)));
  const right = gets.filter((got, i) => JSON.parse(got.body).target === `/r/${i}`).length;
  const result = { gets: right, sockets: sockets.size };

  const parts = Array.from({ length: 10 }, () => Buffer.alloc(10000, "x"));
  const upload = JSON.parse((await ask("POST", "/up", { parts })).body);
  result.upload = {
    length: upload.length,
    chunked: upload.headers.some(([n, v]) => n === "transfer-encoding" && v === "chunked"),
  };

  result.continued = false;
  await ask("POST", "/up", {
    headers: { Expect: "100-continue", "Content-Length": 5 },
    parts: ["hello"],
    onContinue: () => (result.continued = true),
  });

  const head = await ask("HEAD", "/big?n=1000");
  result.head = {
    status: head.status,
    length: head.headers["content-length"],
    body: head.body.length,
  };
  const nothing = await ask("GET", "/status/204");
  result.nothing = { status: nothing.status, body: nothing.body.length };
  result.trailers = (await ask("GET", "/chunked?n=1000")).trailers;
  result.hints = (await ask("GET", "/hints")).hints;
  result.cut = await ask("GET", "/cut-body").then(
    () => "whole",
    (error) => error.code || error.message
  );
  console.log(JSON.stringify(result));
  agent.destroy();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
