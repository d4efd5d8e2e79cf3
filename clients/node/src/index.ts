// A client of cyber-dojo's storer and runner, and all messages of their protos.
export * from "./client.js";
export * from "./errors.js";
export * from "./gen/index.js";
export { type CallOptions, type Rpc, type Rpcs } from "./rpcs.js";
export { date, inOrder, seconds, text, timestamp } from "./values.js";
