/** The ways in which a request to the API fails. */

/** A fault that the API found in a line of a file. */
export interface Finding {
  line?: number;
  field?: string;
  message?: string;
}

/** An error that the API answered with. Its `message` says what happened and what to do. */
export class Refused extends Error {
  override name = "Refused";

  readonly status: number;
  readonly code: string | null;
  readonly param: string | null;
  /** Further findings, such as the faults in the rows of a file. */
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

  /** Makes an error from the status and the body of an answer. The body can be anything. */
  static from(status: number, body: unknown): Refused {
    const { error } = (body ?? {}) as { error?: Partial<Refused> };
    const message = error?.message ?? `The service answered with status ${status}.`;
    return new Refused(message, status, error?.code ?? null, error?.param ?? null, error?.details ?? []);
  }
}

/** The service gave no answer, or only a part of one. */
export class Unreachable extends Error {
  override name = "Unreachable";

  constructor() {
    super("The service does not answer.");
  }
}

/** Returns whether the same request may succeed later. */
export function isPassing(error: unknown): boolean {
  return error instanceof Unreachable || (error instanceof Refused && (error.status >= 500 || error.status === 429));
}

export function isNotFound(error: unknown): boolean {
  return error instanceof Refused && error.status === 404;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
