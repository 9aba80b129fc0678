import type { components } from "@/types/schema.gen";

import type { Schema } from "./schema";

/** A method that the service offers, with the JSON Schema of its options. */
export type Method = Omit<components["schemas"]["MethodObject"], "schema"> & { schema: Schema };
