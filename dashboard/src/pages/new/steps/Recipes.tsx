import { filledBy, offeredRecipes, recipeOf } from "@/lib/newJob/recipes";
import type { StepProps } from "@/pages/new/fields/stepProps";

/** Cards that fill in the method for usual tasks. */
export function Recipes({ draft, offer, change }: StepProps) {
  const chosen = recipeOf(draft);
  return (
    <section aria-label="Recipes" className="grid gap-2">
      <p className="text-muted">Start from a recipe, which fills in the method, or set everything yourself.</p>
      <ul className="grid grid-cols-2 gap-2 sm:grid-cols-3 lg:grid-cols-4 2xl:grid-cols-7">
        {offeredRecipes(offer).map((recipe) => (
          <li key={recipe.id}>
            <button
              type="button"
              aria-pressed={recipe === chosen}
              className="card h-full w-full px-3 py-2 text-left hover:bg-sunken aria-pressed:border-accent aria-pressed:bg-tint"
              onClick={() => change(filledBy(recipe))}
            >
              <span className="block font-semibold">{recipe.title}</span>
              <span className="fact block">{recipe.rows}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
