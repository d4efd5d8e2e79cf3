// A function for each RPC of a service: a request in, a promise or an async iterator out.
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  create,
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { type CallOptions as GrpcOptions, type Client, Metadata } from "@grpc/grpc-js";
import { translated } from "./errors.js";

/** `seconds` is the call's deadline, beside that of the service config; `signal` cancels it. */
export interface CallOptions {
  seconds?: number;
  signal?: AbortSignal;
}

type Init<I extends DescMessage> = MessageInitShape<I>;
type Kinds<I extends DescMessage, O extends DescMessage> = {
  unary: (request: Init<I>, options?: CallOptions) => Promise<MessageShape<O>>;
  server_streaming: (request: Init<I>, options?: CallOptions) => AsyncGenerator<MessageShape<O>>;
  client_streaming: (
    requests: AsyncIterable<Init<I>>,
    options?: CallOptions,
  ) => Promise<MessageShape<O>>;
  bidi_streaming: (
    requests: AsyncIterable<Init<I>>,
    options?: CallOptions,
  ) => AsyncGenerator<MessageShape<O>>;
};

/** An RPC as a function, with its description. */
export type Rpc<
  K extends keyof Kinds<I, O>,
  I extends DescMessage,
  O extends DescMessage,
> = Kinds<I, O>[K] & { method: DescMethod };

type RpcOf<M> = M extends { methodKind: infer K; input: infer I; output: infer O }
  ? K extends keyof Kinds<DescMessage, DescMessage>
    ? I extends DescMessage
      ? O extends DescMessage
        ? Rpc<K, I, O>
        : never
      : never
    : never
  : never;

/** The RPCs of a service, by name. */
export type Rpcs<S extends DescService> = { readonly [M in keyof S["method"]]: RpcOf<S["method"][M]> };

/** Returns the RPCs of a service. `about` is asked for the metadata of each call. */
export function rpcs<S extends GenService<GenServiceMethods>>(
  service: S,
  connection: Client,
  about: (request: object) => Record<string, string>,
): Rpcs<S> {
  const found = service.methods.map((method) => [
    method.localName,
    Object.assign(caller(method, connection, about), { method }),
  ]);
  return Object.fromEntries(found) as Rpcs<S>;
}

function caller(
  method: DescMethod,
  connection: Client,
  about: (request: object) => Record<string, string>,
): (request: never, options?: CallOptions) => unknown {
  const path = `/${method.parent.typeName}/${method.name}`;
  const encode = (request: object) => Buffer.from(toBinary(method.input, strict(method.input, request)));
  const decode = (bytes: Buffer) => fromBinary(method.output, bytes);
  const asBytes = (bytes: Buffer) => bytes;

  const prepared = (request: object, { seconds }: CallOptions): [Metadata, GrpcOptions] => {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(about(request))) metadata.set(name, value);
    return [metadata, seconds === undefined ? {} : { deadline: Date.now() + seconds * 1000 }];
  };
  const cancelling = (call: { cancel(): void }, { signal }: CallOptions) => {
    if (signal?.aborted) call.cancel();
    signal?.addEventListener("abort", () => call.cancel(), { once: true });
  };
  const sending = (requests: AsyncIterable<object>, call: object) =>
    // When the call fails it says why itself, and better than its stream does.
    pipeline(Readable.from(encoded(requests)), call as NodeJS.WritableStream).catch(() => {});
  async function* encoded(requests: AsyncIterable<object>) {
    for await (const request of requests) yield encode(request);
  }
  async function* parts(call: AsyncIterable<unknown> & { cancel(): void }) {
    try {
      yield* call;
    } catch (error) {
      throw translated(error);
    } finally {
      call.cancel();
    }
  }

  switch (method.methodKind) {
    case "unary":
      return async (request: object, options: CallOptions = {}) => {
        const bytes = encode(request);
        return new Promise((resolve, reject) => {
          const call = connection.makeUnaryRequest(
            path, asBytes, decode, bytes, ...prepared(request, options),
            (error, answer) => (error ? reject(translated(error)) : resolve(answer)),
          );
          cancelling(call, options);
        });
      };
    case "server_streaming":
      return async function* (request: object, options: CallOptions = {}) {
        const bytes = encode(request);
        const call = connection.makeServerStreamRequest(
          path, asBytes, decode, bytes, ...prepared(request, options),
        );
        cancelling(call, options);
        yield* parts(call);
      };
    case "client_streaming":
      return (requests: AsyncIterable<object>, options: CallOptions = {}) =>
        new Promise((resolve, reject) => {
          const call = connection.makeClientStreamRequest(
            path, asBytes, decode, ...prepared({}, options),
            (error, answer) => (error ? reject(translated(error)) : resolve(answer)),
          );
          cancelling(call, options);
          void sending(requests, call);
        });
    case "bidi_streaming":
      return async function* (requests: AsyncIterable<object>, options: CallOptions = {}) {
        const call = connection.makeBidiStreamRequest(
          path, asBytes, decode, ...prepared({}, options),
        );
        cancelling(call, options);
        void sending(requests, call);
        yield* parts(call);
      };
  }
}

/** Returns a message. Throws TypeError for what would be lost or mistaken on its way. */
export function strict<D extends DescMessage>(schema: D, init: object): MessageShape<D> {
  checkMessage(schema, init, "");
  return create(schema, init as MessageInitShape<D>);
}

function checkMessage(schema: DescMessage, init: unknown, path: string): void {
  const isPlain = typeof init === "object" && init !== null && !(init instanceof Date);
  if (!isPlain) throw new TypeError(`${path} is ${kindOf(init)}, not a ${schema.typeName}`);
  if (schema.typeName === "google.protobuf.Struct") return; // a plain object, with any names
  const within = path && `${path}.`;
  for (const [name, value] of Object.entries(init)) {
    if (name === "$typeName" || name === "$unknown" || value === undefined) continue;
    const member = schema.members.find((each) => each.localName === name);
    if (!member) throw new TypeError(`${schema.typeName} has no field ${within}${name}`);
    if (member.kind === "field") {
      checkField(member, value, `${within}${name}`);
    } else if (value.case !== undefined) {
      const chosen = member.fields.find((each) => each.localName === value.case);
      if (!chosen) throw new TypeError(`${schema.typeName} has no field ${within}${value.case}`);
      checkField(chosen, value.value, `${within}${value.case}`);
    }
  }
}

function checkField(field: DescField, value: unknown, path: string): void {
  const many = field.fieldKind === "list" || field.fieldKind === "map";
  for (const [key, each] of many ? Object.entries(value as object) : [["", value]]) {
    const where = many ? `${path}[${JSON.stringify(key)}]` : path;
    if (field.message) checkMessage(field.message, each, where);
    else if (field.enum && typeof each !== "number")
      throw new TypeError(`${where} is ${kindOf(each)}, not one of ${field.enum.name}`);
    else if (field.scalar === ScalarType.BYTES && !(each instanceof Uint8Array))
      throw new TypeError(`${where} is ${kindOf(each)}, not bytes`);
  }
}

const kindOf = (value: unknown) =>
  value instanceof Date ? "a Date" : value === null ? "null" : `a ${typeof value}`;
