/** What can go wrong between us and the API. */

/** A place in a file that is not right. */
export interface Finding {
  line?: number;
  field?: string;
  message?: string;
}

/** The API's error: `message` says what happened and what to do about it. */
export class Refused extends Error {
  override name = "Refused";

  readonly status: number;
  readonly code: string | null;
  readonly param: string | null;
  /** What was found beside, such as in the rows of a file. */
  readonly details: readonly Finding[];

  constructor(
    message: string,
    status: number,
    code: string | null,
    param: string | null,
    details: readonly Finding[] = [],
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
    this.details = details;
  }

  static async of(response: Response): Promise<Refused> {
    return Refused.from(response.status, await response.json().catch(() => null));
  }

  /** Of an answer's status and its body, whatever that is. */
  static from(status: number, body: unknown): Refused {
    const { error } = (body ?? {}) as { error?: Partial<Refused> };
    const message = error?.message ?? `The service answered with status ${status}.`;
    return new Refused(message, status, error?.code ?? null, error?.param ?? null, error?.details ?? []);
  }
}

export class Unreachable extends Error {
  override name = "Unreachable";

  constructor() {
    super("The service does not answer.");
  }
}

/** Whether asking again may help. */
export function isPassing(error: unknown): boolean {
  return error instanceof Unreachable || (error instanceof Refused && (error.status >= 500 || error.status === 429));
}

export function isNotFound(error: unknown): boolean {
  return error instanceof Refused && error.status === 404;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
