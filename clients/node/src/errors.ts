// What a failed call throws: a type for each reason that a program acts on, with its fields.
import { create, type Message, type MessageShape, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyPack, anyUnpack } from "@bufbuild/protobuf/wkt";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { Reason, type Refusal } from "./gen/cyberdojo/refusal/v1/refusal_pb.js";
import type { RunResponse } from "./gen/cyberdojo/runner/v1/runner_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";
import { seconds } from "./values.js";

const DOMAIN = "cyber-dojo";
const DETAILS = "grpc-status-details-bin";

/**
 * A call failed.
 *
 * `reason` is the service's word for it, such as STALE_NUMBER, or empty where gRPC itself ended the
 * call; `facts` are the reason's facts, by name; `fields` the malformed fields, each with what is
 * wrong with it; `retryAfter` is in seconds, undefined where the service named no pause. `ran` is the
 * run's result, where pressTest could not record it.
 */
export class CallFailed extends Error {
  readonly code: keyof typeof status;
  readonly reason: string = "";
  readonly facts: Record<string, string> = {};
  readonly fields: Record<string, string> = {};
  readonly retryAfter?: number;
  ran?: RunResponse;

  constructor(error: ServiceError) {
    super(error.details, { cause: error });
    this.name = new.target.name;
    this.code = status[error.code] as keyof typeof status;
    for (const detail of details(error)) {
      const info = unpacked(detail, ErrorInfoSchema);
      if (info?.domain === DOMAIN) [this.reason, this.facts] = [info.reason, info.metadata];
      for (const each of unpacked(detail, BadRequestSchema)?.fieldViolations ?? [])
        this.fields[each.field] = each.description;
      const retry = unpacked(detail, RetryInfoSchema);
      if (retry?.retryDelay) this.retryAfter = seconds(retry.retryDelay);
    }
  }

  /** Whether the same call may succeed later, without anybody's doing. */
  get isTemporary(): boolean {
    return ["UNAVAILABLE", "CANCELLED"].includes(this.code) || this.retryAfter !== undefined;
  }
}

class WithNewest extends CallFailed {
  /** The number of the avatar's newest light. */
  get newest(): number {
    return Number(this.facts["newest_number"]);
  }
}

/** There is no connection, or it broke: whether the service got the call is not known. */
export class Unreachable extends CallFailed {}
/** The deadline is over: whether the service did what was asked is not known. */
export class TimedOut extends CallFailed {}
/** A field of the request is malformed; `fields` says which. */
export class MalformedField extends CallFailed {}
/** The call has no token or certificate that the service knows. */
export class CallerUnknown extends CallFailed {}
/** The caller's role may not make this call. */
export class CallerNotAllowed extends CallFailed {}
/** The caller named too many ids that no kata has; `retryAfter` says when to go on. */
export class TooManyGuesses extends CallFailed {}
/** No kata has this id. */
export class NoSuchKata extends CallFailed {}
/** The avatar was not started in this kata. */
export class NoSuchAvatar extends CallFailed {}
/** The avatar has no light of this number. */
export class NoSuchLight extends WithNewest {}
/** Another browser of the same avatar recorded a light since. */
export class StaleNumber extends WithNewest {}
/** The same request id came before, with another request. */
export class RequestIdReused extends CallFailed {}
/** A kata to restore is here already. */
export class KataExists extends CallFailed {}
/** Every avatar that would do is started. */
export class AvatarsTaken extends CallFailed {}
/** The image is not on the runner's host: pullImage brings it. */
export class ImageMissing extends CallFailed {}
/** Too many runs wait; `retryAfter` says when to try again. */
export class QueueFull extends CallFailed {}
/** A message has more bytes than it may. */
export class MessageTooLarge extends CallFailed {}
/** No room is left on the service's disk. */
export class DiskFull extends CallFailed {}
/** The kata, or the avatar that the call is about, can't be read. */
export class KataDamaged extends CallFailed {}

const OF_REASON: Record<string, typeof CallFailed> = {
  MALFORMED_FIELD: MalformedField,
  CALLER_UNKNOWN: CallerUnknown,
  CALLER_NOT_ALLOWED: CallerNotAllowed,
  TOO_MANY_GUESSES: TooManyGuesses,
  NO_SUCH_KATA: NoSuchKata,
  NO_SUCH_AVATAR: NoSuchAvatar,
  NO_SUCH_LIGHT: NoSuchLight,
  STALE_NUMBER: StaleNumber,
  REQUEST_ID_REUSED: RequestIdReused,
  KATA_EXISTS: KataExists,
  AVATARS_TAKEN: AvatarsTaken,
  IMAGE_MISSING: ImageMissing,
  QUEUE_FULL: QueueFull,
  MESSAGE_TOO_LARGE: MessageTooLarge,
  DISK_FULL: DiskFull,
  KATA_DAMAGED: KataDamaged,
};
const OF_CODE: Partial<Record<keyof typeof status, typeof CallFailed>> = {
  UNAVAILABLE: Unreachable,
  CANCELLED: Unreachable,
  DEADLINE_EXCEEDED: TimedOut,
};

/** A stream ended early, or is not what its digest says: nothing of it was kept. */
export class Incomplete extends Error {
  override name = "Incomplete";
}

/** Returns gRPC's error as the type of its reason, and any other as it is. */
export function translated(error: unknown): unknown {
  if (!(error instanceof Error && "code" in error && "metadata" in error)) return error;
  const failed = error as ServiceError;
  const found = new CallFailed(failed);
  const known = details(failed).length ? OF_REASON[found.reason] : OF_CODE[found.code];
  return known ? new known(failed) : found;
}

/** Returns a refusal that an answer has for one part, as what a call about it alone throws. */
export function refused(refusal: Refusal): CallFailed {
  const reason = (Reason[refusal.reason] ?? "").replace(/^REASON_/, "");
  const info = create(ErrorInfoSchema, { reason, domain: DOMAIN, metadata: refusal.metadata });
  const packed = [anyPack(ErrorInfoSchema, info)];
  if (refusal.retryAfter) {
    const retry = create(RetryInfoSchema, { retryDelay: refusal.retryAfter });
    packed.push(anyPack(RetryInfoSchema, retry));
  }
  const { status: code, message } = refusal;
  const told = create(StatusSchema, { code, message, details: packed });
  const metadata = new Metadata();
  metadata.set(DETAILS, Buffer.from(toBinary(StatusSchema, told)));
  return translated(Object.assign(new Error(message), { code, details: message, metadata })) as CallFailed;
}

/** Returns the details of an error, for programs; none where gRPC itself ended the call. */
function details(error: ServiceError) {
  const [packed] = error.metadata?.get(DETAILS) ?? [];
  return packed ? fromBinary(StatusSchema, packed as Buffer).details : [];
}

function unpacked<D extends DescMessage>(
  detail: Parameters<typeof anyUnpack>[0],
  schema: D,
): (MessageShape<D> & Message) | undefined {
  return anyUnpack(detail, schema) as (MessageShape<D> & Message) | undefined;
}
