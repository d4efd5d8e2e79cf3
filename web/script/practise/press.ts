// A press of test: sends the files, and tells what becomes of them.
import { NO_NETWORK, Refused, send, type Trouble } from "../shared/page.ts";
import type { Colour, Light } from "../shared/lights.ts";
import type { SentFile } from "./files.ts";

export interface Output {
  stdout: string;
  stderr: string;
  truncated: boolean;
}

/** What a run came to. */
export interface Recorded {
  light: Light;
  output: Output;
  changed: SentFile[];
  deleted: string[];
}

/** A line of the stream: one of these. */
interface Part {
  waiting?: number;
  started?: true;
  stdout?: string;
  stderr?: string;
  ran?: Colour;
  recorded?: Recorded;
  trouble?: Trouble;
  output?: Output | null;
  ping?: true;
}

export interface Progress {
  waiting(ahead: number): void;
  started(): void;
  wrote(stream: "stdout" | "stderr", text: string): void;
  ran(colour: Colour): void;
  /** Nothing came for a while. */
  silent(): void;
}

const SILENT_MILLISECONDS = 3_000;
const GONE_MILLISECONDS = 20_000; // a ping comes every 5 seconds

/** Runs the tests and records the light; throws Refused, with the run's output if there is one. */
export async function press(
  path: string,
  body: object,
  progress: Progress,
  abort: AbortSignal,
): Promise<Recorded> {
  const broken = new AbortController();
  const either = AbortSignal.any([abort, broken.signal]);
  let gone: ReturnType<typeof setTimeout> | undefined;
  const silent = setTimeout(() => progress.silent(), SILENT_MILLISECONDS);
  const heard = (): void => {
    clearTimeout(gone);
    gone = setTimeout(() => broken.abort(), GONE_MILLISECONDS);
  };
  heard();
  try {
    const response = await send(path, body, either);
    for await (const part of lines(response, heard)) {
      if (!part.ping) clearTimeout(silent);
      if (part.waiting !== undefined) progress.waiting(part.waiting);
      if (part.started) progress.started();
      if (part.stdout) progress.wrote("stdout", part.stdout);
      if (part.stderr) progress.wrote("stderr", part.stderr);
      if (part.ran) progress.ran(part.ran);
      if (part.recorded) return part.recorded;
      if (part.trouble) throw new Refused(part.trouble);
    }
    throw new Refused(NO_NETWORK); // the stream ended early
  } catch (error) {
    if (error instanceof Refused || abort.aborted) throw error;
    throw new Refused(NO_NETWORK);
  } finally {
    clearTimeout(silent);
    clearTimeout(gone);
  }
}

async function* lines(response: Response, heard: () => void): AsyncGenerator<Part> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    const whole = (rest + value).split("\n");
    rest = whole.pop()!;
    for (const line of whole) yield JSON.parse(line) as Part;
  }
}
