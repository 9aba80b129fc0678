import { createContext, useContext } from "react";

/** What a field asks the form: its problem, told at once or only after it was left. */
interface FormState {
  problemAt: (path: string, wasLeft: boolean) => string | undefined;
}

export const FormContext = createContext<FormState>({ problemAt: () => undefined });

export const useForm = () => useContext(FormContext);

export const fieldId = (path: string) => `field-${path}`;

/** Goes to a field, and unfolds what hides it. */
export function focusField(path: string): void {
  const field = document.getElementById(fieldId(path));
  for (let at = field?.closest("details"); at; at = at.parentElement?.closest("details")) at.open = true;
  field?.focus();
}
