// Server-sent events of a kata, which go on by themselves when the connection breaks.
import type { Light } from "./lights";

/** What was typed since an avatar's newest light, and is kept on the server. */
export interface Edit {
  avatar: string;
  light_number: number;
  number: number;
  time: number;
  writer: string;
}

export interface Listener {
  /** Lights as they happen; at the beginning, and after each break, all that there are. */
  lights?(lights: Light[]): void;
  edit?(edit: Edit): void;
  options?(options: { kata: object; avatars: Record<string, object> }): void;
  /** All lights that there were have been told. */
  caughtUp?(): void;
  /** The storer is away, with words for people; or back, with none. */
  storer?(trouble: { title?: string; text?: string }): void;
  /** The kata is gone: nothing else comes. */
  gone?(trouble: { title: string; text: string }): void;
  /** The web tier can be reached, or can't. */
  connected?(is: boolean): void;
}

const SILENCE_MILLISECONDS = 40_000; // a ping comes every 15 seconds
const RETRY_MILLISECONDS = 1_000;

/** Listens to a stream of events until the returned function is called. */
export function listen(path: string, listener: Listener): () => void {
  let source: EventSource | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let hasEnded = false;

  const heard = (): void => {
    clearTimeout(silence);
    silence = setTimeout(again, SILENCE_MILLISECONDS);
  };
  const end = (): void => {
    hasEnded = true;
    clearTimeout(silence);
    clearTimeout(retry);
    source?.close();
  };
  const again = (): void => {
    clearTimeout(silence);
    source?.close();
    listener.connected?.(false);
    clearTimeout(retry);
    if (!hasEnded) retry = setTimeout(open, RETRY_MILLISECONDS * (0.5 + Math.random()));
  };
  const open = (): void => {
    source = new EventSource(path);
    const on = (kind: string, tell?: (data: never) => void): void => {
      source?.addEventListener(kind, (event) => {
        heard();
        tell?.(JSON.parse((event as MessageEvent<string>).data) as never);
      });
    };
    source.addEventListener("open", () => {
      heard();
      listener.connected?.(true);
    });
    source.addEventListener("error", again);
    on("ping");
    on("lights", listener.lights?.bind(listener));
    on("edit", listener.edit?.bind(listener));
    on("options", listener.options?.bind(listener));
    on("caught_up", () => listener.caughtUp?.());
    on("storer", listener.storer?.bind(listener));
    on("gone", (trouble: { title: string; text: string }) => {
      end();
      listener.gone?.(trouble);
    });
  };
  // A page that was put away and is shown again may have missed that the connection broke.
  addEventListener("online", () => hasEnded || again());
  open();
  heard();
  return end;
}
