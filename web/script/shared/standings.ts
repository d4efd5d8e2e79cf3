// How everybody stands, as web/session/standings.py has it on the server; that says why.
import type { Colour, Light } from "./lights";

/** Whoever has not pressed test for so long is told to be quiet. */
export const QUIET_SECONDS = 600;

/** How an avatar stands. `joined` is in seconds since 1970; `lights` are without light 0. */
export interface Standing {
  avatar: string;
  joined: number;
  lights: Light[];
}

export const newestOf = (standing: Standing): Light | undefined => standing.lights.at(-1);

export const colourOf = (standing: Standing): Colour => newestOf(standing)?.colour ?? "start";

/** Returns how many of a hundred; 100 only if all of them are. */
export const percent = (part: number, whole: number): number | undefined =>
  whole ? Math.trunc((100 * part) / whole) : undefined;

/** Returns how many tests passed, and how many there are, at the newest light that tells it. */
export function passedOf({ lights }: Standing): [number, number] | undefined {
  const counts = lights.findLast((light) => light.counts)?.counts;
  return counts && [counts.passed, counts.passed + counts.failed];
}

/** Returns how long an avatar has not pressed test; `now` is in seconds. */
export function quietSeconds(standing: Standing, now: number): number {
  const newest = newestOf(standing);
  return Math.max(now - (newest ? newest.time / 1000 : standing.joined), 0);
}

export const isQuiet = (standing: Standing, now: number): boolean =>
  quietSeconds(standing, now) >= QUIET_SECONDS;

/** Returns some of the standings, sorted, by the words that web/session/standings.py has. */
export function arranged(
  of: Iterable<Standing>,
  now: number,
  order: string,
  show: string,
): Standing[] {
  const isShown = (each: Standing): boolean =>
    show === "quiet"
      ? isQuiet(each, now)
      : !["red", "amber", "green"].includes(show) || colourOf(each) === show;
  const passed = (each: Standing): number => percent(...(passedOf(each) ?? [0, 0])) ?? -1;
  const keys: Record<string, (each: Standing) => number> = {
    newest: (each) => quietSeconds(each, now),
    quiet: (each) => -quietSeconds(each, now),
    tests: (each) => -each.lights.length,
    passed: (each) => -passed(each),
  };
  const key = keys[order];
  const byName = (one: Standing, other: Standing): number => (one.avatar < other.avatar ? -1 : 1);
  return [...of]
    .filter(isShown)
    .sort((one, other) => (key ? key(one) - key(other) : 0) || byName(one, other));
}

/** The lights of all avatars, as events tell them. */
export class Session {
  private readonly lights = new Map<string, Light[]>();

  /** Adds lights; those that are known already, or told again by a restored kata, replace others. */
  add(lights: readonly Light[]): void {
    for (const light of lights) {
      const own = this.lights.get(light.avatar) ?? [];
      own.length = Math.min(own.length, light.number);
      own.push(light);
      this.lights.set(light.avatar, own);
    }
  }

  /** Returns how each avatar stands. */
  standings(): Standing[] {
    return [...this.lights].map(([avatar, lights]) => ({
      avatar,
      joined: (lights[0] as Light).time / 1000,
      lights: lights.filter((light) => light.number > 0),
    }));
  }
}
