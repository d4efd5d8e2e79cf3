// A client of cyber-dojo's storer and runner, and all messages of their protos.
export * from "./client.js";
export * from "./errors.js";
export * from "./gen/cyberdojo/colour/v1/colour_pb.js";
export * from "./gen/cyberdojo/runner/v1/runner_pb.js";
export * from "./gen/cyberdojo/startpoints/v1/startpoints_pb.js";
export * from "./gen/cyberdojo/storer/v1/storer_pb.js";
export { type CallOptions, type Rpc, type Rpcs } from "./rpcs.js";
export { date, inOrder, seconds, text, timestamp } from "./values.js";
