import { useQuery } from "@tanstack/react-query";

import { baseModelsQuery } from "@/api/jobs/offers";
import { Labelled } from "@/components/forms/Labelled";

interface BaseChooserProps {
  label: string;
  /** The words of the choice that is not a model, if there is one. */
  none?: string;
  value: string;
  onChange: (model: string) => void;
}

/** Chooses a base model. */
export function BaseChooser({ label, none, value, onChange }: BaseChooserProps) {
  const { data: models = [] } = useQuery(baseModelsQuery);
  return (
    <Labelled label={label}>
      <select className="field" value={value} onChange={({ target }) => onChange(target.value)}>
        {none !== undefined && <option value="">{none}</option>}
        {models.map((model) => (
          <option key={model}>{model}</option>
        ))}
      </select>
    </Labelled>
  );
}
