// Time in columns, as web/session/timeline.py has it on the server; that says why. Both do what
// tests/unit/web/timeline_cases.json says. All times are in seconds since 1970.

/** A stretch of time. */
export interface Column {
  start: number;
  seconds: number;
  isFold: boolean;
}

export interface Timeline {
  columnSeconds: number;
  columns: Column[];
}

const COLUMN_SECONDS = [60, 120, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400];
const LONGEST_GAP = 5;
const MAX_COLUMNS = 90;

/** Returns the timeline in which all the times of lights are, up to `now`. */
export function fold(times: readonly number[], now: number, maxColumns = MAX_COLUMNS): Timeline {
  const known = times.length ? [...times].sort((a, b) => a - b) : [now];
  const end = Math.max(now, known[known.length - 1] as number);
  for (let place = 0; ; place++) {
    const columnSeconds =
      COLUMN_SECONDS[place] ?? 86400 * 2 ** (place - COLUMN_SECONDS.length + 1);
    const columns = columnsOf(known, end, columnSeconds);
    if (columns.length <= maxColumns) return { columnSeconds, columns };
  }
}

function columnsOf(times: readonly number[], now: number, columnSeconds: number): Column[] {
  const first = Math.floor((times[0] as number) / columnSeconds);
  const used = new Set(times.map((time) => Math.floor(time / columnSeconds) - first));
  used.add(Math.floor(now / columnSeconds) - first);
  const column = (place: number, count = 1, isFold = false): Column => ({
    start: (first + place) * columnSeconds,
    seconds: count * columnSeconds,
    isFold,
  });
  const found: Column[] = [];
  let before: number | undefined;
  for (const place of [...used].sort((a, b) => a - b)) {
    if (before !== undefined) {
      const empty = place - before - 1;
      if (empty > LONGEST_GAP) found.push(column(before + 1, empty, true));
      else for (let each = before + 1; each < place; each++) found.push(column(each));
    }
    found.push(column(place));
    before = place;
  }
  return found;
}

/** Returns the place of the column in which a time is; the first or last for others. */
export function columnOf(timeline: Timeline, time: number): number {
  let low = 0;
  let high = timeline.columns.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((timeline.columns[middle] as Column).start <= time) low = middle + 1;
    else high = middle;
  }
  return Math.max(low - 1, 0);
}

/** Returns how long something takes: `40 s`, `12 min`, `3 h 5 min`, `2 d 4 h`. */
export function forPeople(seconds: number): string {
  const whole = Math.max(Math.trunc(seconds), 0);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.trunc(whole / 60) % 60;
  const hours = Math.trunc(whole / 3600) % 24;
  const days = Math.trunc(whole / 86400);
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return `${minutes} min`;
}
