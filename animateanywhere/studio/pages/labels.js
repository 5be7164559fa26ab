// What the fields of the forms are called, by the option of the command that each sets.

const SAMPLED = { seed: "Seed", steps: "Steps", guidance: "Guidance", base: "Base model" };
const PEOPLE = { class_word: "The person is a", appearance: "Hair and clothes" };

/** By the kind of a job; a look at pictures has those of the job that it is for. */
export const LABELS = {
  check: { ...PEOPLE, place: "Filmed", person: "Number of the person to learn", start: "Begins at", frames: "Ends at", base: SAMPLED.base },
  learn: { ...PEOPLE, scene: "Filmed", token: "Word for this person", seed: SAMPLED.seed, base: SAMPLED.base },
  generate: { ...SAMPLED, pose: "Motion", weights: "Who", frames: "Frames at most", aspect: "Format", fit: "Fit of the skeleton", negative: "Not to be seen" },
  swap: { ...SAMPLED, scene: "The scene", person: "Person of the scene to replace", character_person: "Person of the picture to put there", start: "Begins at", frames: "Ends at",
    fit: "Proportions of the body", class_word: "The character is a", appearance: PEOPLE.appearance, place: "Where the scene is", also: "Add pictures" },
  cast: { ...SAMPLED, also: "Add pictures", pose: "Motion", person: "Number of the person", whole: "Take the picture as it is", frames: "Frames at most",
    appearance: PEOPLE.appearance, likeness: "Likeness" },
};

/** What the choices of a field are called. */
export const CHOICES = {
  generate: {
    aspect: { "": "as the motion", "1:1": "square", "9:16": "portrait 9:16", "4:5": "portrait 4:5", "16:9": "landscape 16:9" },
    fit: { bones: "height, place and bones", frame: "height and place", none: "as it is" },
  },
  swap: { fit: { none: "of the scene's person", bones: "of the character" } },
};
