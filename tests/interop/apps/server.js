// The application of servers.py on Node's HTTP server. Usage: PORT.
"use strict";
const crypto = require("crypto");
const http = require("http");

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://x");
  const digest = crypto.createHash("sha256");
  request.on("data", (data) => digest.update(data));
  request.on("end", () => {
    if (url.pathname === "/nothing") {
      response.writeHead(204).end();
    } else if (url.pathname === "/stream") {
      for (let i = 0; i < Number(url.searchParams.get("n")); i++) {
        response.write(`${String(i).padStart(7, "0")}\n`.repeat(125));
      }
      response.end();
    } else {
      response.end(url.pathname === "/hello" ? "hello\n" : digest.digest("hex"));
    }
  });
});
server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2]), "127.0.0.1");
