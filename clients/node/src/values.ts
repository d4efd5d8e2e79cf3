// Plain values of what the messages hold: files, times, and durations. A Struct is a plain object
// in the messages already.
import { type Duration, type Timestamp, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";

/** Returns a Timestamp as a Date. */
export const date = (timestamp: Timestamp): Date => timestampDate(timestamp);

/** Returns a Date as a Timestamp. */
export const timestamp = (time: Date): Timestamp => timestampFromDate(time);

/** Returns a Duration in seconds. */
export const seconds = (duration: Duration): number =>
  Number(duration.seconds) + duration.nanos / 1e9;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Returns a file's content as text; null if it is binary: no UTF-8, or with a NUL. */
export function text(content: Uint8Array): string | null {
  try {
    return content.includes(0) ? null : decoder.decode(content);
  } catch {
    return null;
  }
}

/**
 * Returns files in the order of an editor's tabs: pairs of name and content.
 *
 * Those that `first` names come first, such as a manifest's `highlightFilenames`; the others follow
 * by name, whatever their case.
 */
export function inOrder<T>(files: Record<string, T>, first: Iterable<string> = []): [string, T][] {
  const named = [...new Set(first)].filter((name) => Object.hasOwn(files, name));
  const others = Object.keys(files).filter((name) => !named.includes(name));
  const key = (name: string) => `${name.toLowerCase()}\0${name}`;
  others.sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return [...named, ...others].map((name) => [name, files[name] as T]);
}
