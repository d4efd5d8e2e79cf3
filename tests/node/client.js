// A client in Node that has only the protos: client.js STORER RUNNER START_POINT TAR
//
// STORER and RUNNER are host:port, START_POINT is a folder of start_points/languages whose
// answer is 6 * 9, TAR is the file to download to. Prints what it got as one JSON object.
import { createHash } from "node:crypto";
import { createWriteStream, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { once } from "node:events";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const [storerAddress, runnerAddress, startPoint, tar] = process.argv.slice(2);

const definition = loadSync(
  ["cyberdojo/storer/v1/storer.proto", "cyberdojo/runner/v1/runner.proto"],
  {
    includeDirs: [fileURLToPath(new URL("../../protos", import.meta.url))],
    enums: String,
    longs: Number,
    defaults: true,
    oneofs: true,
  },
);
const { cyberdojo } = grpc.loadPackageDefinition(definition);
const credentials = grpc.credentials.createInsecure();
const storer = new cyberdojo.storer.v1.StorerService(storerAddress, credentials);
const runner = new cyberdojo.runner.v1.RunnerService(runnerAddress, credentials);

// call(storer, "GetKata", {...}): a unary RPC as a promise.
const call = (stub, rpc, request) => promisify(stub[rpc]).call(stub, request);

function readManifest() {
  const found = JSON.parse(readFileSync(join(startPoint, "manifest.json")));
  const files = found.visible_filenames.map((name) => [name, readFileSync(join(startPoint, name))]);
  return {
    displayName: found.display_name,
    imageName: found.image_name,
    maxSeconds: found.max_seconds,
    files: Object.fromEntries(files),
    colourRule: {
      patterns: {
        patterns: found.colour_rule.patterns.map((each) => ({
          colour: `COLOUR_${each.colour.toUpperCase()}`,
          pattern: each.pattern,
          stream: `STREAM_${(each.stream ?? "unspecified").toUpperCase()}`,
        })),
      },
    },
  };
}

async function pressTest(kata, manifest, files) {
  const ran = await call(runner, "Run", {
    ...kata,
    imageName: manifest.imageName,
    files,
    maxSeconds: manifest.maxSeconds,
    colourRule: manifest.colourRule,
  });
  const recorded = await call(storer, "RecordTest", {
    ...kata,
    files,
    stdout: ran.stdout.content,
    stderr: ran.stderr.content,
    status: ran.status,
    colour: ran.colour,
    duration: ran.duration,
    reason: ran.reason,
  });
  return recorded.light;
}

async function download(kataId) {
  const file = createWriteStream(tar);
  const digest = createHash("sha256");
  let header, end;
  const request = { kataId, compression: "COMPRESSION_GZIP" };
  for await (const part of storer.DownloadKata(request)) {
    if (part.header) header = part.header;
    if (part.end) end = part.end;
    if (part.part === "data") {
      digest.update(part.data);
      if (!file.write(part.data)) await once(file, "drain");
    }
  }
  await promisify(file.end).call(file);
  return { filename: header.filename, whole: digest.digest().equals(Buffer.from(end.sha256)) };
}

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return { code: grpc.status[error.code], details: error.details };
  }
  return null;
}

const manifest = readManifest();
const { kataId } = await call(storer, "CreateKata", { manifest });
const started = await call(storer, "StartAvatar", { kataId, avatars: ["whale"] });
const kata = { kataId, avatar: started.avatar };

const watching = storer.WatchKata({ kataId, seen: {} });
const seen = [];
let caughtUp = 0;
watching.on("data", (happened) => {
  if (happened.caughtUp) caughtUp += 1;
  else seen.push([happened.avatar, happened.light.number, happened.light.colour]);
});
watching.on("error", () => {}); // cancel() below ends the stream with an error

const red = await pressTest(kata, manifest, started.files);
const fixed = Object.entries(started.files).map(([name, content]) => [
  name,
  Buffer.from(content.toString().replace("6 * 9", "6 * 7")),
]);
const green = await pressTest(kata, manifest, Object.fromEntries(fixed));

const listed = await call(storer, "ListLights", kata);
const diff = await call(storer, "DiffLights", { ...kata, wasNumber: red.number, nowNumber: -1 });
const changed = diff.files.filter((file) => file.change !== "FILE_CHANGE_UNCHANGED");
const downloaded = await download(kataId);
while (seen.length < 3) await once(watching, "data");
watching.cancel();

console.log(
  JSON.stringify({
    kataId,
    avatar: kata.avatar,
    lights: listed.avatars[0].lights.map((light) => light.colour),
    recorded: [red.number, green.number],
    changed: changed.map((file) => [file.newName, file.addedCount, file.deletedCount]),
    watched: seen,
    caughtUp,
    downloaded,
    refused: await refusal(call(storer, "GetKata", { kataId: "../../etc" })),
  }),
);
storer.close();
runner.close();
