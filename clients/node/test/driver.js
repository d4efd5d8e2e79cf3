// Does with the Node client what cases say: reads them from standard input, one JSON object on a
// line, and writes what comes of each in the same way.
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fromJson, toJson } from "@bufbuild/protobuf";
import * as dojo from "@cyber-dojo/client";

const KATA_ID = "493A06504A";
const bytes = (content) => Buffer.from(content);

async function done(client, task, folder) {
  if (task.text) return { texts: task.text.map((each) => dojo.text(Buffer.from(each, "base64"))) };
  if (task.order) {
    const files = Object.fromEntries(task.order.map((name) => [name, ""]));
    return { order: dojo.inOrder(files, task.first).map(([name]) => name) };
  }
  if (task.plain) {
    const kata = fromJson(dojo.GetKataResponseSchema, task.plain);
    return { other: kata.manifest.other, created_milliseconds: dojo.date(kata.created).getTime() };
  }
  if (task.press) return press(client, task);
  if (task.watch) {
    const seen = [];
    const { seen: known, withOptions } = task.watch;
    for await (const each of client.watch(KATA_ID, { seen: known, withOptions })) {
      if (each.options) seen.push(toJson(dojo.KataOptionsSchema, each.options));
      else seen.push(each.caughtUp ? "caught up" : [each.avatar, each.light.number]);
      if (seen.length === task.watch.take) break;
    }
    return { seen };
  }
  if (task.watch_katas) {
    const seen = [];
    for await (const { kataId, part } of client.watchKatas(task.watch_katas.seen)) {
      const { avatar, light, caughtUp } = part.value;
      const what = caughtUp ? "caught up" : [avatar, light?.number];
      seen.push([kataId, part.case === "refusal" ? dojo.refused(part.value).name : what]);
    }
    return { seen };
  }
  if (task.download) {
    await client.download(KATA_ID, join(folder, task.download));
    return {};
  }
  if (task.bundle) {
    await client.downloadBundle(KATA_ID, "whale", join(folder, task.bundle));
    return {};
  }
  return called(client, task);
}

async function called(client, task) {
  const [how, name] = Object.entries(task)[0];
  const [service, rpcName] = name.split(".");
  const stubs = { storer: client.storer, runner: client.runner, start_points: client.startPoints };
  const rpc = stubs[service][rpcName[0].toLowerCase() + rpcName.slice(1)];
  const { input, output } = rpc.method;
  const request = task.fields
    ? Object.fromEntries(Object.entries(task.fields).map(([key, value]) => [camel(key), value]))
    : fromJson(input, task.request);
  const messages = async (iterator) => {
    const found = [];
    for await (const each of iterator) found.push(toJson(output, each));
    return { parts: found };
  };
  if (how === "pages") return messages(client.pages(rpc, request));
  if (rpc.method.methodKind === "server_streaming") return messages(rpc(request));
  const answer = await (how === "retry"
    ? client.call(rpc, request, { seconds: task.seconds })
    : rpc(request));
  if (task.only === "size") return { size: answer.stdout.content.length };
  return { answer: toJson(output, answer) };
}

async function press(client, task) {
  const outputs = [];
  const onPart = ({ part }) => part.case === "stdout" && outputs.push(dojo.text(part.value));
  const encoded = Object.entries(task.press).map(([name, content]) => [name, bytes(content)]);
  const pressed = await client.pressTest(
    KATA_ID,
    "whale",
    fromJson(dojo.ManifestSchema, task.manifest),
    task.as_text ? task.press : Object.fromEntries(encoded),
    { expectedNumber: task.expected, predicted: task.predicted, writer: task.writer, onPart },
  );
  const files = Object.entries(pressed.files).map(([name, content]) => [name, dojo.text(content)]);
  return { light: pressed.light.number, outputs, files: Object.fromEntries(files) };
}

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

function told(error, only) {
  const found = {
    type: error.name,
    code: error.code,
    message: error.message,
    reason: error.reason,
    facts: error.facts,
    fields: error.fields,
    retry_after: error.retryAfter ?? null,
    is_temporary: error.isTemporary,
    ...(error.newest !== undefined && { newest: error.newest }),
    ...(error.ran && { ran: toJson(dojo.RunResponseSchema, error.ran) }),
  };
  return only ? Object.fromEntries(only.map((name) => [name, found[name]])) : found;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { task, address, folder, certificate } = JSON.parse(line);
  const tls = task.tls && { rootCertificates: Buffer.from(certificate) };
  const client = new dojo.Client({ storer: address, runner: address, token: task.token, tls });
  let comes;
  try {
    comes = await done(client, task, folder);
  } catch (error) {
    const isOurs = error instanceof dojo.CallFailed || error instanceof dojo.Incomplete;
    comes = isOurs ? { error: told(error, task.only) } : { refused: `${error}` };
  }
  client.close();
  console.log(JSON.stringify(comes));
}
