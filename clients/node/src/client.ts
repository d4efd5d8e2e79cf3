// The client of a storer and a runner.
import { createHash, randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { type DescMessage, equals, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { Client as Connection, credentials } from "@grpc/grpc-js";
import { CallFailed, Incomplete, refused } from "./errors.js";
import type { Colour } from "./gen/cyberdojo/colour/v1/colour_pb.js";
import { RunnerService, type RunResponse, type RunStreamResponse } from "./gen/cyberdojo/runner/v1/runner_pb.js";
import serviceConfig from "./gen/service_config.js";
import { StartPointsService } from "./gen/cyberdojo/startpoints/v1/startpoints_pb.js";
import { Compression, type DownloadKataRequestSchema, type KataOptions, KataOptionsSchema, type Light, type ManifestSchema, StorerService, type WatchKataResponse, type WatchKatasResponse } from "./gen/cyberdojo/storer/v1/storer_pb.js";
import { type CallOptions, type Rpc, type Rpcs, rpcs } from "./rpcs.js";

const MESSAGE_BYTES = 64 * 1024 * 1024;
const RUN_SECONDS = 120;
const RECORD_SECONDS = 30;
const FIRST_PAUSE = 0.1;
const LONGEST_PAUSE = 1;

const OPTIONS = {
  "grpc.max_receive_message_length": MESSAGE_BYTES,
  "grpc.max_send_message_length": MESSAGE_BYTES,
  // Back within a second when a service is back; gRPC's own pause grows to two minutes.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  // A dead peer is noticed within 20 seconds, on idle watches too.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.service_config": JSON.stringify(serviceConfig),
  "grpc.enable_http_proxy": 0, // a proxy is for the web, not for these
};

/** How a connection is encrypted, each in PEM: by default with Node's own certificates. */
export interface Tls {
  rootCertificates?: Buffer;
  /** The client's own, where the service asks for one. */
  certificate?: Buffer;
  key?: Buffer;
}

export interface ClientOptions {
  /** The storer's host:port. */
  storer?: string;
  /** The runner's host:port. */
  runner?: string;
  /** Sent with every call; a function is asked for it each time. */
  token?: string | (() => string);
  /** Absent: nothing is encrypted. */
  tls?: Tls;
}

export interface PressOptions {
  /** The number that the light is to get: one more than the newest that the editor knows of. */
  expectedNumber?: number;
  /** The colour that somebody expected. */
  predicted?: Colour;
  /** Names the browser or tab. */
  writer?: string;
  /** Called with each part of the run; of a run that is lost and done again, from the first. */
  onPart?: (part: RunStreamResponse) => void;
  /** Names this press. Absent: a new one. */
  requestId?: string;
}

/** What a press of *test* came to; `files` are those that the editor shows from now on. */
export interface Pressed {
  light: Light;
  ran: RunResponse;
  files: Record<string, Uint8Array>;
}

/**
 * A client of a storer and a runner.
 *
 * `storer`, `runner` and `startPoints` have a function for each RPC; the methods are for what takes
 * more than one call. All of them throw the types of CallFailed.
 */
export class Client {
  readonly storer: Rpcs<typeof StorerService>;
  readonly startPoints: Rpcs<typeof StartPointsService>;
  readonly runner: Rpcs<typeof RunnerService>;
  readonly #connections: Connection[];

  constructor({ storer = "127.0.0.1:4577", runner = "127.0.0.1:4597", token, tls }: ClientOptions = {}) {
    const encryption = tls
      ? credentials.createSsl(tls.rootCertificates, tls.key, tls.certificate)
      : credentials.createInsecure();
    const connections = [storer, runner].map((address) => new Connection(address, encryption, OPTIONS));
    const [ofStorer, ofRunner] = connections as [Connection, Connection];
    const about = (request: { kataId?: unknown; run?: { kataId?: unknown } }) => {
      const sent = typeof token === "function" ? token() : token;
      const kataId = request.kataId ?? request.run?.kataId; // runStream has a run's request inside
      return {
        ...(sent && { authorization: `Bearer ${sent}` }),
        // What can't be an id is refused by the service.
        ...(typeof kataId === "string" && /^[0-9A-Za-z]+$/.test(kataId) && { "kata-id": kataId }),
      };
    };
    this.#connections = connections;
    this.storer = rpcs(StorerService, ofStorer, about);
    this.startPoints = rpcs(StartPointsService, ofStorer, about);
    this.runner = rpcs(RunnerService, ofRunner, about);
  }

  /** Closes the connections. */
  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  /**
   * Returns an RPC's answer; makes the call again while it fails for a while.
   *
   * A request that can have a `requestId` gets one, so that a lost answer does no harm. The last
   * error is thrown after `seconds`, and one that lasts at once.
   */
  async call<I extends DescMessage, O extends DescMessage>(
    rpc: Rpc<"unary", I, O>,
    request: MessageInitShape<I>,
    { seconds = RECORD_SECONDS, signal }: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const hasId = rpc.method.input.fields.some((each) => each.localName === "requestId");
    const named = hasId ? { ...request, requestId: (request as any).requestId || randomUUID() } : request;
    const attempts = new Attempts(seconds, signal);
    for (;;) {
      try {
        return await rpc(named as MessageInitShape<I>, { seconds: attempts.left, signal });
      } catch (error) {
        await attempts.after(error);
      }
    }
  }

  /** Yields all pages of a list, beginning with the one that the request asks for. */
  async *pages<I extends DescMessage, O extends DescMessage>(
    rpc: Rpc<"unary", I, O>,
    request: MessageInitShape<I>,
  ): AsyncGenerator<MessageShape<O>> {
    let pageToken = "";
    do {
      const asked = pageToken ? { ...request, pageToken } : request;
      const page = await this.call(rpc, asked as MessageInitShape<I>);
      yield page;
      pageToken = (page as { nextPageToken?: string }).nextPageToken ?? "";
    } while (pageToken);
  }

  /**
   * Runs an avatar's tests and records the light.
   *
   * If another browser was faster than `expectedNumber`, it fails with StaleNumber, whose `ran` has
   * the run's result all the same.
   */
  async pressTest(
    kataId: string,
    avatar: string,
    manifest: MessageInitShape<typeof ManifestSchema>,
    files: Record<string, Uint8Array>,
    { expectedNumber, predicted, writer, onPart = () => {}, requestId }: PressOptions = {},
  ): Promise<Pressed> {
    const { imageName, maxSeconds, colourRule, resultsFilename } = manifest;
    const run = { kataId, avatar, imageName, files, maxSeconds, colourRule, resultsFilename };
    const ran = await this.#run(run, onPart);
    const shown = { ...files, ...ran.changedFiles };
    for (const name of ran.deletedFilenames) delete shown[name];
    try {
      const { light } = await this.call(this.storer.recordTest, {
        kataId,
        avatar,
        files: shown,
        stdout: ran.stdout,
        stderr: ran.stderr,
        status: ran.status,
        colour: ran.colour,
        duration: ran.duration,
        reason: ran.reason,
        special: ran.special,
        testResults: ran.testResults,
        requestId,
        expectedNumber,
        predicted,
        writer,
      });
      return { light: light as Light, ran, files: shown };
    } catch (error) {
      if (error instanceof CallFailed) error.ran = ran;
      throw error;
    }
  }

  async #run(
    run: Parameters<typeof this.runner.run>[0],
    onPart: (part: RunStreamResponse) => void,
  ): Promise<RunResponse> {
    const attempts = new Attempts(RUN_SECONDS);
    for (;;) {
      try {
        for await (const part of this.runner.runStream({ run }, { seconds: attempts.left })) {
          onPart(part);
          if (part.part.case === "result") return part.part.value;
        }
      } catch (error) {
        await attempts.after(error);
        continue;
      }
      throw new Incomplete("the run's stream ended without a result");
    }
  }

  /**
   * Yields a kata's lights as they happen, beginning after those `seen` of each avatar.
   *
   * With `withOptions` also its options, those of now first, and again when they change. A stream that breaks is opened
   * again, so each light comes once, and `caughtUp` too. End it by leaving the loop, or by
   * the signal; it ends with NoSuchKata when the kata is deleted.
   */
  async *watch(
    kataId: string,
    {
      seen = {},
      withOptions = false,
      signal,
    }: { seen?: Record<string, number>; withOptions?: boolean; signal?: AbortSignal } = {},
  ): AsyncGenerator<WatchKataResponse> {
    const known = { ...seen };
    const attempts = new Attempts(undefined, signal);
    let hasCaughtUp = false;
    let options: KataOptions | undefined;
    while (!signal?.aborted) {
      try {
        const request = { kataId, seen: known, withOptions };
        for await (const each of this.storer.watchKata(request, { signal })) {
          attempts.reset();
          if (each.options) {
            if (options && equals(KataOptionsSchema, options, each.options)) continue;
            options = each.options;
          } else if (each.light) known[each.avatar] = each.light.number;
          else if (hasCaughtUp) continue;
          hasCaughtUp ||= each.caughtUp;
          yield each;
        }
        return;
      } catch (error) {
        if (!signal?.aborted) await attempts.after(error);
      }
    }
  }

  /**
   * Yields what happens in several katas, beginning after what was `seen` of each.
   *
   * `seen` has the katas, at most 64: kata id, avatar, the newest number seen. A kata that is deleted,
   * unknown or damaged comes with a `refusal` (`refused` makes an error of it), and no more of it
   * does; it ends when none is left. A stream that breaks is opened again, and so is one of which a
   * kata can't be watched for a while.
   */
  async *watchKatas(
    seen: Record<string, Record<string, number>>,
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<WatchKatasResponse> {
    const left = new Map(Object.entries(seen).map(([kataId, numbers]) => [kataId, { ...numbers }]));
    const caughtUp = new Set<string>();
    const attempts = new Attempts(undefined, signal);
    while (left.size && !signal?.aborted) {
      const katas = [...left].map(([kataId, seen]) => ({ kataId, seen }));
      let isOneAway = false;
      try {
        for await (const each of this.storer.watchKatas({ katas }, { signal })) {
          attempts.reset();
          const { kataId, part } = each;
          if (part.case === "refusal") {
            isOneAway = refused(part.value).isTemporary;
            if (isOneAway) break;
            left.delete(kataId);
          } else if (part.value?.light) {
            left.get(kataId)![part.value.avatar] = part.value.light.number;
          } else {
            if (caughtUp.has(kataId)) continue;
            caughtUp.add(kataId);
          }
          yield each;
        }
        if (!isOneAway) return;
        await pause(LONGEST_PAUSE * 1000, undefined, { signal });
      } catch (error) {
        if (!signal?.aborted) await attempts.after(error);
      }
    }
  }

  /**
   * Downloads a kata's tar to `path`; until all of it is there the file is called PATH.part.
   *
   * Throws Incomplete if the end is missing or the digest differs; nothing is left then.
   */
  async download(kataId: string, path: string, compression = Compression.GZIP): Promise<string> {
    return this.#download({ kataId, compression }, path);
  }

  /** Downloads an avatar's git repository to a file that `git clone` takes, as `download` does. */
  async downloadBundle(kataId: string, avatar: string, path: string): Promise<string> {
    return this.#download({ kataId, avatar, asBundle: true }, path);
  }

  async #download(
    request: MessageInitShape<typeof DownloadKataRequestSchema>,
    path: string,
  ): Promise<string> {
    const part = `${path}.part`;
    const file = await open(part, "w");
    try {
      const digest = createHash("sha256");
      let size = 0n;
      let isWhole = false;
      for await (const { part } of this.storer.downloadKata(request)) {
        if (part.case === "data") {
          digest.update(part.value);
          size += BigInt(part.value.length);
          await file.writeFile(part.value);
        } else if (part.case === "end") {
          isWhole = part.value.sizeBytes === size && digest.digest().equals(part.value.sha256);
        }
      }
      if (!isWhole) throw new Incomplete(`${path}: the download ended early, or is not what was sent`);
      await file.sync();
      await rename(part, path);
    } finally {
      await file.close();
      await rm(part, { force: true });
    }
    return path;
  }
}

/** When a call that fails for a while is made again: until a deadline, with growing pauses. */
class Attempts {
  readonly #end?: number;
  readonly #signal?: AbortSignal;
  #pause = FIRST_PAUSE;

  constructor(seconds?: number, signal?: AbortSignal) {
    this.#end = seconds === undefined ? undefined : performance.now() / 1000 + seconds;
    this.#signal = signal;
  }

  /** How many seconds are left. */
  get left(): number | undefined {
    return this.#end === undefined ? undefined : Math.max(this.#end - performance.now() / 1000, 0.001);
  }

  /** Begins with the shortest pause again: a call succeeded. */
  reset(): void {
    this.#pause = FIRST_PAUSE;
  }

  /** Waits before the next attempt; throws the error if there can be none. */
  async after(error: unknown): Promise<void> {
    if (!(error instanceof CallFailed && error.isTemporary) || this.#signal?.aborted) throw error;
    const seconds = error.retryAfter ?? this.#pause;
    if (this.left !== undefined && this.left <= seconds) throw error;
    await pause(seconds * 1000, undefined, { signal: this.#signal });
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
  }
}
