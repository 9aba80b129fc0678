import { createContext, useContext } from "react";

/** The form, as its fields see it. */
interface FormState {
  /** Returns what is wrong with a field. Before the form is sent, only a field that the author has left is checked. */
  problemAt: (path: string, wasLeft: boolean) => string | undefined;
}

export const FormContext = createContext<FormState>({ problemAt: () => undefined });

export const useForm = () => useContext(FormContext);

export const fieldId = (path: string) => `field-${path}`;

/** Gives a field the focus, and opens the folded groups around it. */
export function focusField(path: string): void {
  const field = document.getElementById(fieldId(path));
  for (let at = field?.closest("details"); at; at = at.parentElement?.closest("details")) at.open = true;
  field?.focus();
}
