// What a web tier does with the client: example.js STORER RUNNER START_POINT TAR
//
// STORER and RUNNER are host:port, START_POINT is a folder of start_points/languages whose
// answer is 6 * 9, TAR is the file to download to. Prints what it got as one JSON object.
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import {
  CallFailed,
  Client,
  Colour,
  FileChange,
  LineChange,
  Stream,
  text,
} from "@cyber-dojo/client";

const [storer, runner, startPoint, tar] = process.argv.slice(2);
const client = new Client({ storer, runner });

function readManifest() {
  const found = JSON.parse(readFileSync(join(startPoint, "manifest.json")));
  const files = found.visible_filenames.map((name) => [name, readFileSync(join(startPoint, name))]);
  const patterns = found.colour_rule.patterns.map(({ colour, pattern, stream }) => ({
    colour: Colour[colour.toUpperCase()],
    pattern,
    stream: Stream[(stream ?? "unspecified").toUpperCase()],
  }));
  return {
    displayName: found.display_name,
    imageName: found.image_name,
    maxSeconds: found.max_seconds,
    files: Object.fromEntries(files),
    colourRule: { rule: { case: "patterns", value: { patterns } } },
  };
}

const manifest = readManifest();
const { kataId } = await client.call(client.storer.createKata, { manifest });
const started = await client.call(client.storer.startAvatar, { kataId, avatars: ["whale"] });
const { avatar, files: delivered } = started;

const red = await client.pressTest(kataId, avatar, manifest, delivered, { expectedNumber: 1 });
const [name] = Object.entries(red.files).find(([, content]) => text(content)?.includes("6 * 9"));
const fixed = Buffer.from(text(red.files[name]).replace("6 * 9", "6 * 7"));
const green = await client.pressTest(kataId, avatar, manifest, { ...red.files, [name]: fixed });

const lights = [];
for await (const page of client.pages(client.storer.listLights, { kataId, avatar }))
  for (const each of page.avatars) lights.push(...each.lights.map(({ colour }) => Colour[colour]));

const { files } = await client.storer.diffLights({ kataId, avatar, wasNumber: 1, nowNumber: -1 });
const changed = files.filter(({ change }) => change !== FileChange.UNCHANGED);

const watched = [];
for await (const { avatar, light, caughtUp } of client.watch(kataId)) {
  if (caughtUp) break;
  watched.push([avatar, light.number, Colour[light.colour]]);
}

const downloaded = basename(await client.download(kataId, tar));
const refused = await client.storer.getKata({ kataId: "../../etc" }).catch((error) => error);

console.log(
  JSON.stringify({
    kataId,
    avatar,
    lights,
    recorded: [red.light.number, green.light.number],
    changed: changed.map(({ newName, lines }) => [
      newName,
      ...lines.filter(({ change }) => change === LineChange.ADDED).map(({ text: line }) => text(line)),
    ]),
    watched,
    downloaded,
    refused: refused instanceof CallFailed && [refused.name, refused.code, refused.fields],
  }),
);
client.close();
